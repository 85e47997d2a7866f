"""Our own sections; each is found by its entry point in ``harness.sections``, like anyone's."""
