"""What stands between two processes: ports, certificates, links that cut, and real proxies."""
