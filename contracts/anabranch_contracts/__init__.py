"""What is said between services: topology, messages, events, replies, addresses."""
