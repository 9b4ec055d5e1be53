#!/bin/busybox sh
# The first and only process of a guest: runs what /checks lists and reports each end on the second
# serial line, one line at a time. What the programs print goes to the first, the console.

export PATH=/usr/sbin:/bin
busybox=/bin/busybox
$busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp

report() {
    echo "$*" >/dev/ttyS1
}

run() {
    name=$1
    shift
    report "begin $name"
    echo "== $name: $*"
    "$@" >/tmp/output 2>&1
    status=$?
    cat /tmp/output
    # Lines of the checks themselves, and of Rust's test harness.
    sed -n -e "s/^instructions: /instructions /p" \
        -e "s/^error: /said $name /p" \
        -e "s/^test \(.*\) \.\.\. FAILED.*/said $name failed: \1/p" /tmp/output >/dev/ttyS1
    passed=$(sed -n 's/^test result: [^.]*\. \([0-9]*\) passed.*/\1/p' /tmp/output)
    # Tests that found that this kernel can't do what they test.
    skipped=$(grep -c '^skipped' /tmp/output)
    report "end $name $status ${passed:-0} $skipped"
    return $status
}

report "kernel $(uname -r)"
while read -r module; do
    insmod "$module" || report "said start cannot load $module"
done </modules

while read -r name line; do
    # Without the program there is nothing to test. Word splitting is wanted.
    run "$name" $line </dev/null || [ "$name" != load ] || break
done </checks

report finished
poweroff -f
