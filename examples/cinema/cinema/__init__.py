"""A film site: five ordinary ASGI applications. None of them knows tierline."""
