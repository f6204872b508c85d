"""Serving: an OpenAI-compatible proxy that lets out only what a policy cleared.

    client ──► door ──► input check ──► upstream ──► tracks (a gate each text) ──► client
                                                        └─► guardroom: checks, in batches

`app.app` makes it, `server.server` runs it, `guardroom.Guardroom` changes the policy meanwhile.
"""
