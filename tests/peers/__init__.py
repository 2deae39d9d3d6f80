"""Other projects' own controllers, built and run beside ours (`make test-peers`)."""
