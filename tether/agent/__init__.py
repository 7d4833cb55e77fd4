"""The tether's second process: speaks gRPC with interaction on behalf of the supervisor."""
