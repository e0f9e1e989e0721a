"""What stands in for the internet, each speaking the real protocol: models, tools, a receiver of traces."""
