"""The smallest line: one service in one zone."""

from tierline import Service, Stack

stack = Stack("hello", services=[Service("hello", "hello:app")], zones=["a"])
