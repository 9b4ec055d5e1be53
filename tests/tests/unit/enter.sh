# Makes systemd the first process of namespaces of its own, with the unit and nothing else to start.
# Called with a directory that has `unit`, `config` and `program`, in a network and a mount namespace
# whose mounts spread nowhere.
set -e
here=$1
if [ "$2" != inside ]; then
    # A control group of its own, to be the root of what systemd sees.
    mkdir -p "$here/cgroup"
    mount -t cgroup2 cgroup2 "$here/cgroup"
    mkdir "$here/cgroup/xdp-throttle-test-$$"
    echo $$ > "$here/cgroup/xdp-throttle-test-$$/cgroup.procs"
    exec unshare --kill-child --cgroup --mount --pid --fork --uts --ipc sh "$0" "$here" inside
fi
mount -t proc proc /proc
# Nothing of the machine is set.
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# As systemd mounts it.
chmod 0700 /sys/fs/bpf
mkdir "$here/etc"
cp -a /etc/. "$here/etc/"
mount --bind "$here/etc" /etc
for empty in /run /var/lib /etc/systemd/system /lib/systemd/system /usr/local/bin; do
    mount -t tmpfs -o mode=755 tmpfs "$empty"
done
cp "$here/program" /usr/local/bin/xdp-throttle
chmod 0755 /usr/local/bin/xdp-throttle
getent passwd xdp-throttle > /dev/null ||
    useradd --system --no-create-home --shell /usr/sbin/nologin xdp-throttle
mkdir -p /etc/xdp-throttle
cp "$here/config" /etc/xdp-throttle/config.toml
chown -R root:xdp-throttle /etc/xdp-throttle
chmod 0750 /etc/xdp-throttle
chmod 0640 /etc/xdp-throttle/config.toml
cp "$here/unit" /etc/systemd/system/xdp-throttle.service
mkdir /etc/systemd/system/xdp-throttle.service.d
cat > /etc/systemd/system/xdp-throttle.service.d/log.conf << 'END'
[Service]
StandardOutput=append:/run/daemon.log
StandardError=append:/run/daemon.log
END
for target in sysinit basic shutdown network-online multi-user; do
    printf '[Unit]\nDefaultDependencies=no\n' > "/etc/systemd/system/$target.target"
done
cat > /etc/systemd/system/go.target << 'END'
[Unit]
DefaultDependencies=no
Wants=xdp-throttle.service
END
echo ready
export container=test
exec /lib/systemd/systemd --system --unit=go.target --log-target=console --show-status=no
