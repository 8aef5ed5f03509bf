"""The data plane over HTTP: POST /api/v1/keys/{key_id}/{operation}, one item or a batch, one audit event a request.

`operations` is the table of what there is, `answering.respond` authorises and acts without a Django request,
`callers` says who asks, `views` joins them to Django, and `schema` describes the same table in OpenAPI.
"""
