# Becomes the machine in DIR: boot.sh DIR, in a mount namespace of its own, so that its disk is unmounted
# when it ends. DIR/env says which disk, DIR/args are the further arguments of systemd-nspawn, one a line.
set -eu
dir=$1
. "$dir/env"
. "$dir/../../run/cgroup.sh"

# systemd-nspawn expects a tmpfs here and leaves things behind on anything else.
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn

mkdir -p "$DISK/upper" "$DISK/work" "$DISK/root"
root=$DISK/root
if ! mount -t overlay overlay -o "lowerdir=$IMAGE,upperdir=$DISK/upper,workdir=$DISK/work" "$root" 2>/dev/null; then
	# The cache lies on a file system that an overlay cannot have as its upper layer.
	root=$DISK/copy
	if [ ! -e "$DISK/copied" ]; then
		mkdir -p "$root"
		cp -a "$IMAGE/." "$root/"
		cp -a "$DISK/upper/." "$root/"
		: >"$DISK/copied"
	fi
fi

while IFS= read -r arg; do
	set -- "$@" "$arg"
done <"$dir/args"
shift
enter "$GROUP" $$
# The namespace of a machine is handed over by path, which systemd-nspawn does not take for a private
# network: without this its sysctls of the network are read-only.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
exec systemd-nspawn --quiet --directory="$root" --network-namespace-path="/run/netns/$NS" --register=no --keep-unit \
	--link-journal=no --resolv-conf=off --timezone=off --capability=CAP_NET_ADMIN --console=read-only "$@"
