"""Who asks: start runs, wait for them, look at them."""
