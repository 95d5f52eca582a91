#!/bin/sh
# The entry point of an order with autossh_entrypoint: brings SSH into an image that may have none.
#
# On the first start it installs an SSH server where there is none, and lets root in by SSH_PASSWORD and
# SSH_KEY. On every start it runs /root/onstart.sh if there is one, and keeps the server running. The order's
# start-up command runs once, beside it. Where it can't go on, it leaves a sentence in /.openclore/failure
# and ends with status 113; by both the agent knows.

INSTALL_TRIES=3
INSTALL_PAUSE_SECONDS=10
RESTART_PAUSE_SECONDS=1

main() {
    umask 022
    complete_path
    rm -f /.openclore/failure
    user=$(id -u)
    [ "$user" = 0 ] || fail "autossh_entrypoint needs an image that runs as root, this one runs as user $user"
    [ -n "$(server)" ] || install_server
    if ! [ -e /.openclore/let-in ]; then
        let_root_in
        : > /.openclore/let-in
    fi
    run_start_up_scripts
    keep_serving
}

complete_path() {
    for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
        case :$PATH: in
        *":$directory:"*) ;;
        *) PATH=$PATH:$directory ;;
        esac
    done
    export PATH
}

# The whole path of the SSH server; nothing where there is none.
server() {
    command -v sshd || command -v dropbear
}

install_server() {
    manager=$(package_manager)
    [ -n "$manager" ] || fail "the image has no SSH server, and no package manager to install one with"
    say "installing an SSH server with $manager; this can take minutes"
    try=1
    until install_with "$manager" > /.openclore/install.log 2>&1 && [ -n "$(server)" ]; do
        cat /.openclore/install.log
        reason=$(sed -n '/[^[:space:]]/h; ${x;p;}' /.openclore/install.log)
        [ "$try" -lt "$INSTALL_TRIES" ] || fail "no SSH server could be installed with $manager: $reason"
        try=$((try + 1))
        say "that failed; trying again in $INSTALL_PAUSE_SECONDS s"
        sleep "$INSTALL_PAUSE_SECONDS"
    done
    cat /.openclore/install.log
    say "installed"
}

package_manager() {
    for name in apt-get apk dnf microdnf yum zypper pacman; do
        command -v "$name" > /dev/null && echo "$name" && return
    done
}

install_with() {
    case $1 in
    apt-get) without_services install_with_apt_get ;;
    apk) apk add --no-cache openssh ;;
    zypper) zypper --non-interactive install --no-recommends openssh ;;
    pacman) pacman -Sy --noconfirm --needed openssh ;;
    *) "$1" install -y openssh-server ;;
    esac
}

# Debian's packages start the services they install, unless this file says no.
without_services() {
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    "$@"
    status=$?
    rm -f "$policy"
    return "$status"
}

install_with_apt_get() {
    apt-get update &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openssh-server
}

# No secret becomes a word of a command, for everybody can see those; printf is the shell's own.
let_root_in() {
    if [ -n "$SSH_PASSWORD" ]; then
        command -v chpasswd > /dev/null ||
            fail "the image has no chpasswd to set root's password with; order with an SSH key instead"
        printf 'root:%s\n' "$SSH_PASSWORD" | chpasswd || fail "root's password could not be set in the image"
    elif [ -e /etc/shadow ]; then
        sed -i 's/^root:![^:]*:/root:*:/' /etc/shadow # a locked account can't log in with a key either
    fi
    ssh_directory=$(sed -n 's/^root:[^:]*:[^:]*:[^:]*:[^:]*:\([^:]*\):.*/\1/p' /etc/passwd)/.ssh
    mkdir -p "$ssh_directory"
    chmod 700 "$ssh_directory"
    (
        umask 077
        [ -z "$SSH_KEY" ] || printf '%s\n' "$SSH_KEY" >> "$ssh_directory/authorized_keys"
        container_variables > "$ssh_directory/environment"
    )
    if [ -d /etc/profile.d ]; then # a login shell forgets the image's PATH
        quoted=$(printf '%s' "$PATH" | sed "s/'/'\\\\''/g")
        printf "PATH='%s'\n" "$quoted" > /etc/profile.d/openclore.sh
    fi
    [ -n "$SSH_PASSWORD$SSH_KEY" ] || say "the order has neither a password nor a key: nobody can log in"
}

# What a session should find as the container's own processes do.
container_variables() {
    env | sed -n -e '/^SSH_PASSWORD=/d' -e '/^SSH_KEY=/d' -e '/^HOME=/d' -e '/^HOSTNAME=/d' -e '/^TERM=/d' \
        -e '/^PWD=/d' -e '/^OLDPWD=/d' -e '/^SHLVL=/d' -e '/^_=/d' -e '/^[A-Za-z_][A-Za-z0-9_]*=/p'
}

run_start_up_scripts() {
    if [ -e /root/onstart.sh ]; then
        say "running /root/onstart.sh"
        IFS= read -r first < /root/onstart.sh
        case $first in
        '#!'*) interpreter=${first#??} ;;
        *) interpreter=/bin/sh ;;
        esac
        $interpreter /root/onstart.sh & # in words: "/usr/bin/env bash" is two
    fi
    if [ -e /.openclore/command ]; then
        /bin/sh /.openclore/run-command &
    fi
}

keep_serving() {
    trap 'kill "$serving"; exit 0' TERM INT
    while :; do
        say "starting $(server)"
        serve "$(server)" &
        serving=$!
        wait "$serving"
        say "it ended with status $?; it is started again"
        sleep "$RESTART_PAUSE_SECONDS"
    done
}

serve() {
    passwords=${SSH_PASSWORD:+yes}
    unset SSH_PASSWORD SSH_KEY
    case $1 in
    *dropbear)
        mkdir -p /etc/dropbear
        [ "$passwords" ] || set -- "$1" -s
        exec "$@" -F -E -R -p 22
        ;;
    *)
        mkdir -p /run/sshd /var/run/sshd
        ssh-keygen -A > /dev/null
        exec "$1" -D -e -p 22 -o PidFile=none -o UsePAM=no -o StrictModes=no -o PermitRootLogin=yes \
            -o PasswordAuthentication="${passwords:-no}" -o PubkeyAuthentication=yes \
            -o AuthorizedKeysFile=.ssh/authorized_keys -o PermitUserEnvironment=yes
        ;;
    esac
}

say() {
    printf 'openclore: %s\n' "$1"
}

fail() {
    say "$1"
    printf '%s\n' "$1" > /.openclore/failure
    exit 113
}

main
