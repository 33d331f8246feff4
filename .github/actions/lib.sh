# What the actions' steps share; sourced by bash -e -o pipefail.  Inputs arrive in the environment and stay data.

# each OPTION LINES: append OPTION=LINE to the array `arguments` for every line that is not empty.  The option and its
# value are one word, so that a value that begins with a dash is still a value.
each() {
    local line
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line%$'\r'}
        if [ -n "$line" ]; then
            arguments+=("$1=$line")
        fi
    done <<<"$2"
}

# lend_token: let git reach this server with $TOKEN, for this process and its children and on no disk.  The empty value
# takes away a header that actions/checkout may have left: two of them would be refused.
lend_token() {
    local key header
    if [ -n "${TOKEN:-}" ]; then
        key="http.$GITHUB_SERVER_URL/.extraheader"
        header=$(printf 'x-access-token:%s' "$TOKEN" | base64 --wrap=0)
        echo "::add-mask::$header"
        export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=$key GIT_CONFIG_VALUE_0=
        export GIT_CONFIG_KEY_1=$key GIT_CONFIG_VALUE_1="AUTHORIZATION: basic $header"
    fi
    unset TOKEN
}
