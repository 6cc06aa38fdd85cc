"""Big files on their way in: staged under the reserved prefix, visible only when whole."""
