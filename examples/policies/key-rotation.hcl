# A job that rotates the gossip keys: installs a new one, makes it the primary,
# and removes the old one once no node uses it.
keyring = "write"

/* It has no business with the Raft configuration, whatever the default policy
   and the other policies of its token say: deny wins over all of them. */
operator = "deny"
