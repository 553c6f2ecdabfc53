# An operator on call: removes dead servers, hands the lead on, and changes
# autopilot's rules. Write implies read.
operator = "write"

# May look at the keys, for instance to see whether a rotation is stuck half
# way, but not rotate them: that is the job of key-rotation.hcl.
keyring = "read"

# Rules about other resources are for Consul; this library checks and ignores them.
agent_prefix "" {
  policy = "write"
}

session_prefix "" {
  policy = "read"
}
