"""What is said of a process that failed, in the exit messages of those that called it."""

from aiida.orm import ProcessNode


def failure_words(process: ProcessNode) -> dict[str, str]:
    """Return ``process``, its name, and ``why`` it failed, for the message of an exit code."""
    state = process.process_state
    return {
        "process": f"{process.process_label}<{process.pk}>",
        "why": process.exit_message or f"it was {state.value if state else 'lost'}",
    }
