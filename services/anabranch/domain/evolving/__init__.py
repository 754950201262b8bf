"""One function per event type: how it changes the state."""
