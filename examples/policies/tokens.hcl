# The same as tokens.json. Where nothing is said, the default policy holds.
default_policy = "deny"

# What everyone without a token has: nothing.
anonymous = []

policy "dashboard" {
  operator = "read"
  keyring  = "read"
}

policy "on-call" {
  operator = "write"
  keyring  = "read"
}

policy "key-rotation" {
  operator = "deny"
  keyring  = "write"
}

# A token is named by its accessor id, by which logs and errors speak of it.
token "6a1253d2-1785-24fd-91c2-f8e78c745511" {
  secret      = "replace-me-6f0c9d8e-dashboard"
  description = "wall display in the operations room"
  policies    = ["dashboard"]
}

token "59f86a9b-d3b6-166c-32a0-be4ab4d94caa" {
  secret      = "replace-me-1b7e42aa-on-call"
  description = "operators on call; new every quarter"
  policies    = ["on-call"]
  # From then on the token is unknown.
  expires     = "2100-01-01T00:00:00Z"
}

token "be5f3b8c-7a4d-4f9e-8a64-2f6f5d1f0c11" {
  secret      = "replace-me-93c5d0f4-key-rotation"
  description = "nightly key rotation"
  policies    = ["key-rotation"]
}

# Management is not a policy: this token may do everything.
token "fbd5a4a3-3bd1-1b93-6bb5-6a4a4b9a3a2e" {
  secret      = "replace-me-e05d77b1-break-glass"
  description = "may do everything; in the safe"
  management  = true
}
