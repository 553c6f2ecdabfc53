# A read-only dashboard: who is in the Raft configuration, who leads, which keys
# are in use. It can change nothing.
#
# Keyring read shows the gossip keys themselves, and whoever has one can read
# and forge gossip. Take the second line out if the dashboard shows Raft only.
operator = "read"
keyring  = "read"

# Rules about other resources are for Consul; this library checks and ignores them.
node_prefix "" {
  policy = "read"
}

service_prefix "" {
  policy = "read"
}
