"""What can go wrong when a one-machine stack starts."""


class StackFailed(Exception):
    """The stack could not start; the message says why and what to do."""


class DataFolderInUse(StackFailed):
    """Another stack works on the same data folder."""

    def __init__(self, folder: str, holder: str) -> None:
        super().__init__(
            f"The data folder {folder} is in use by {holder}: "
            "use that one, stop it, or name another folder with --data-dir."
        )


class PortInUse(StackFailed):
    """Something else listens on the service's port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"Port {port} on {host} is in use already, perhaps by another `pathpatch up`: "
            f"stop that, or take another port: pathpatch up --port {port + 1}"
        )


class ProcessDied(StackFailed):
    """A process ended while the stack was starting."""

    def __init__(self, name: str, exit_code: int, last_words: list[str]) -> None:
        said = "\n".join(f"  {line}" for line in last_words) or "  (nothing)"
        super().__init__(f"The {name} ended with exit code {exit_code} while starting. Its last words:\n{said}")


class NotReady(StackFailed):
    """The stack did not become ready in time."""

    def __init__(self, waited_s: float, waiting_for: str) -> None:
        super().__init__(f"Not ready after {waited_s:.0f} s: still waiting for {waiting_for}.")
