"""What is wrong with an agent before any of its steps runs."""

from anabranch_contracts.errors import AnabranchError


class InvalidAgent(AnabranchError):
    """The agent cannot be registered or loaded; says why and the mend."""
