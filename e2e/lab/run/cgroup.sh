# enter NAME PID puts a process into the lab's control group of that name, in every hierarchy there is.
enter() {
	for group in $CGROUPS; do
		mkdir -p "$group/$1"
		echo "$2" >"$group/$1/cgroup.procs"
	done
}
