"""What can go wrong here, each with a message that says what to do next.

It must hold no other code, so that every module of the package can import it.
"""


class ControlPlaneError(RuntimeError):
    """Nothing to test against: it could not be built, started or reached."""


class KubectlError(RuntimeError):
    """kubectl exited non-zero; the message holds the command and what it printed on stderr.

    stderr: that text alone, as a user would read it.
    """

    def __init__(self, command: str, returncode: int, stderr: str) -> None:
        super().__init__(f"{command} failed with exit code {returncode}:\n{stderr.strip()}")
        self.returncode = returncode
        self.stderr = stderr
