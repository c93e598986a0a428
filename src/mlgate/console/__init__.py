"""The console: a web page over the public API, with the signed-in person's own rights and no way around them.

    browser --websocket--> this process (NiceGUI) --REST, the person's token--> API

It knows no store and no handler: whatever it shows or does is a call that the person could have made with curl. All
calls go through `client.ConsoleClient`, signing in through `sign_in`, both replaceable. What a page needs to know of
who looks at it is a `visit.Visit`. The decision is 013 in docs/decisions.
"""
