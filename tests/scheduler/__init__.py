"""`make test-scheduler`: placements that say they have room, bound by the real kube-scheduler."""
