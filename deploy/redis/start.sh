#!/bin/sh
# Starts redis-server with the users of users.acl. Their password is what the file REDIS_PASSWORD_FILE holds, any character allowed; Redis gets
# only its digest. The ledger's prefix in users.acl is that of REDIS_KEY_PREFIX. What stands behind goes to redis-server.
set -eu
digest=$(printf %s "$(cat "$REDIS_PASSWORD_FILE")" | sha256sum | cut -d ' ' -f 1)
users=${REDIS_USERS_FILE:-/tmp/users.acl}
sed "s/PASSWORD_SHA256/$digest/" "$(dirname "$0")/users.acl" > "$users"
exec redis-server --aclfile "$users" "$@"
