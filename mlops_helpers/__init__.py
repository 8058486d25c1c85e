"""The Operations Lab's package: the life cycle of one spam model, room by room.

``model``: comments -> validated data -> model -> registered artifact; ``teach``: running and checking the
notebooks. Importing this package does nothing and loads nothing; import the room that you need, for
example ``from mlops_helpers.model import data``.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
