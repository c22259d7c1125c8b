"""Messages as SDKs, serialisers and gateways send them."""
