"""Engine and policy comparison over HTTP: stock `vllm serve` against the same server with our worker."""
