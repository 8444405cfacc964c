"""The OpenAPI 3.1 document of what a stack's gateway exposes.

routes of the gateway ─┬─ journeys' own document          journeys/openapi.py
                       ├─ services' own documents, asked  asked.py
                       └─ what only the gateway knows     policies.py
                                    └──▶ one document     document.py
"""
