"""An S3 store on this machine."""
