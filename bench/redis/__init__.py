"""Redis under the product: what it is asked, command by command, and the two queues that are compared."""
