"""Agents: how they are registered, called, and what their errors mean."""
