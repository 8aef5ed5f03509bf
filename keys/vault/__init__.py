"""The portal's keys through the HTTP API of Vault and OpenBao, so that their clients work as they are.

A key ring is a mount of the transit engine: `POST /v1/<ring>/encrypt/<key>`. `transit` is the table of its endpoints,
`reading` shows keys, `system` says how the portal and a token are, `answers` writes as Vault does, `views` and `urls`
join them to Django. Keys are governed in the portal; what would change one is refused here.
"""
