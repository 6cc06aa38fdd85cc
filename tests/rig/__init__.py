"""The real servers that tests run against, and two proxies that make them misbehave. README.md says how to use them."""
