#!/usr/bin/env bash
# A Slurm cluster on this one machine, to try the pipeline on: virtual nodes with GPUs that need no
# hardware, everything on loopback, nothing under /etc, all state in one folder.
#
#   tools/slurm_cluster.sh install          Debian's Slurm, by apt-get (root, or sudo without password)
#   tools/slurm_cluster.sh up               start it; then: . "$(tools/slurm_cluster.sh env)"
#   tools/slurm_cluster.sh down             stop it; its state stays for the next `up`
#   tools/slurm_cluster.sh clean            stop it and remove its folder
#   tools/slurm_cluster.sh status           nodes and jobs
#   tools/slurm_cluster.sh kill-node NODE   as if the node lost power; start-node NODE brings it back
#   tools/slurm_cluster.sh kill-controller  kill -9 of slurmctld; start-controller starts it again
#
# Settings, read by the first `up`: SLURM_CLUSTER (its folder), _NODES=2, _PORT=16817, and of each
# node _CPUS=16, _MEMORY=64000 (MB), _GPUS=1, whatever the machine has: the pipeline's requests fit.
# A job that may run anywhere runs on the last node. With slurmdbd and MariaDB, sacct works too.
set -euo pipefail

folder=${SLURM_CLUSTER:-${TMPDIR:-/tmp}/rca-slurm-$(id -un)}
nodes=${SLURM_CLUSTER_NODES:-2} cpus=${SLURM_CLUSTER_CPUS:-16} memory=${SLURM_CLUSTER_MEMORY:-64000}
gpus=${SLURM_CLUSTER_GPUS:-1} port=${SLURM_CLUSTER_PORT:-16817}
accounting=$(PATH=$PATH:/usr/sbin command -v slurmdbd mariadbd | grep -c . || true)
[ -f "$folder/settings" ] && . "$folder/settings"
user=$(id -un) host=$(hostname -s)
export PATH=$folder/bin:$PATH:/usr/sbin:/sbin SLURM_CONF=$folder/slurm.conf

say() { echo "slurm_cluster: $*" >&2; }
node_names() { seq -f n%g 1 "$nodes"; }
has_accounting() { [ "$accounting" = 2 ]; }

# A killed daemon stays a zombie process where process 1 does not reap it, as in many containers.
gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }
# Process id of a daemon, if it runs.
pid() { local p; p=$(cat "$folder/run/$1.pid" 2>/dev/null) && [ -n "$p" ] && ! gone "$p" && echo "$p"; }

wait_for() { # SECONDS COMMAND...
  local seconds=$1; shift
  for _ in $(seq $((seconds * 5))); do "$@" >/dev/null 2>&1 && return; sleep .2; done
  say "gave up waiting for: $*; see $folder/log"; return 1
}

stop() {
  local p; p=$(pid "$1") || return 0
  kill "$p"; wait_for 10 gone "$p" || kill -9 "$p"
  rm -f "$folder/run/$1.pid"
}

kill_tree() {
  local child
  for child in $(pgrep -P "$1"); do kill_tree "$child"; done
  kill -9 "$1" 2>/dev/null || true
}

# The slurmstepd processes of this cluster alone; of one job if given.
steps() {
  local p
  for p in $(pgrep -x slurmstepd); do
    { tr '\0' '\n' <"/proc/$p/environ"; } 2>/dev/null | grep -qx "SLURM_CONF=$SLURM_CONF" \
      && grep -qF "[${1:-}" "/proc/$p/cmdline" && echo "$p"
  done
  true
}

install() {
  local packages="slurmctld slurmd slurm-client munge slurmdbd slurm-wlm-mysql-plugin mariadb-server"
  dpkg -s $packages >/dev/null 2>&1 && return
  local sudo=; [ "$(id -u)" = 0 ] || sudo="sudo -n"
  # The packages must not start daemons of their own.
  [ -e /usr/sbin/policy-rc.d ] || {
    printf '#!/bin/sh\nexit 101\n' | $sudo tee /usr/sbin/policy-rc.d >/dev/null
    $sudo chmod +x /usr/sbin/policy-rc.d
  }
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
}

configure() {
  mkdir -p "$folder"/{run,log,state,dev,bin}
  chmod 755 "$folder"
  declare -p nodes cpus memory gpus port accounting | sed 's/^declare -- //' >"$folder/settings"
  [ -s "$folder/munge.key" ] || (umask 077; head -c 1024 /dev/urandom >"$folder/munge.key")
  local i name
  for i in $(seq 0 $((gpus - 1))); do # Slurm wants a character device behind each GPU
    [ -e "$folder/dev/gpu$i" ] || ln -s /dev/null "$folder/dev/gpu$i"
  done
  cat >"$folder/slurm.conf" <<EOF
ClusterName=rca
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdSpoolDir=$folder/spool/%n
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmdLogFile=$folder/log/slurmd.%n.log
SlurmdParameters=config_overrides
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
KillWait=10
MinJobAge=86400
SchedulerParameters=bf_interval=2,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
EOF
  if has_accounting; then # a client finds munge's socket for slurmdbd by AccountingStoragePass
    cat >>"$folder/slurm.conf" <<EOF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 2))
AccountingStoragePass=$folder/run/munge.sock
AccountingStorageTRES=gres/gpu
EOF
    (umask 077; cat >"$folder/slurmdbd.conf") <<EOF
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.sock
CommunicationParameters=NoInAddrAny
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((port + 2))
SlurmUser=$user
PidFile=$folder/run/slurmdbd.pid
LogFile=$folder/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=$user
StorageLoc=slurm_acct_db
EOF
  fi
  : >"$folder/gres.conf"
  i=0
  for name in $(node_names); do
    i=$((i + 1))
    mkdir -p "$folder/spool/$name"
    echo "NodeName=$name NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 100 + i))" \
      "CPUs=$cpus RealMemory=$memory Gres=gpu:$gpus Weight=$((nodes - i + 1))" >>"$folder/slurm.conf"
    echo "NodeName=$name Name=gpu File=$folder/dev/gpu[0-$((gpus - 1))]" >>"$folder/gres.conf"
  done
  printf 'PartitionName=%s Nodes=ALL MaxTime=UNLIMITED Default=%s\n' cpu YES gpu NO >>"$folder/slurm.conf"
  # Snakemake's Slurm plugin unsets SLURM_CONF before it calls srun: these wrappers set it again.
  # They also log how sbatch was called.
  cat >"$folder/bin/.client" <<EOF
#!/bin/sh
[ "\${0##*/}" = sbatch ] && echo "sbatch \$*" >>$folder/log/sbatch.log
SLURM_CONF=$folder/slurm.conf exec /usr/bin/\${0##*/} "\$@"
EOF
  chmod +x "$folder/bin/.client"
  for name in sbatch srun squeue sacct scancel scontrol sinfo sacctmgr; do
    ln -sf .client "$folder/bin/$name"
  done
  echo "export SLURM_CLUSTER=$folder PATH=$folder/bin:\$PATH SLURM_CONF=$folder/slurm.conf" >"$folder/env.sh"
}

start_accounting() {
  local socket=$folder/run/db.sock
  [ -d "$folder/db/mysql" ] || mariadb-install-db --no-defaults --user="$user" --datadir="$folder/db" \
    --skip-test-db --auth-root-authentication-method=socket --auth-root-socket-user="$user" \
    >"$folder/log/db-install.log" 2>&1
  if ! pid mariadb >/dev/null; then
    # No file descriptor of ours may stay open in a daemon: a caller's pipe would never close.
    setsid mariadbd --no-defaults --user="$user" --datadir="$folder/db" --socket="$socket" \
      --pid-file="$folder/run/mariadb.pid" --skip-networking --innodb-buffer-pool-size=64M \
      >"$folder/log/mariadb.log" 2>&1 </dev/null &
  fi
  wait_for 60 mariadb --no-defaults -S "$socket" -u "$user" -e 'create database if not exists slurm_acct_db'
  pid slurmdbd >/dev/null || MYSQL_UNIX_PORT=$socket slurmdbd
  wait_for 60 sacctmgr -n list cluster
  sacctmgr -n list cluster format=cluster | grep -qw rca || sacctmgr -i -Q add cluster rca >/dev/null
}

all_ready() { ! sinfo -h -N -o %T | grep -qvxE 'idle|mixed|allocated'; }

up() {
  local name
  for name in munged slurmctld slurmd; do
    command -v "$name" >/dev/null || { say "no $name; run: $0 install"; exit 1; }
  done
  configure
  pid munged >/dev/null || munged --force --key-file="$folder/munge.key" \
    --socket="$folder/run/munge.sock" --pid-file="$folder/run/munged.pid" \
    --log-file="$folder/log/munged.log" --seed-file="$folder/run/munge.seed"
  ! has_accounting || start_accounting
  start_controller
  for name in $(node_names); do pid "slurmd.$name" >/dev/null || slurmd -N "$name"; done
  wait_for 60 all_ready
  say "up: $(node_names | xargs), $gpus GPU each; . $folder/env.sh"
}

# kill -9 may hit between the start of a job and its record. The job is then started twice, and
# Slurm drains its node ("Duplicate jobid") until an administrator resumes it.
resume_duplicates() {
  local list
  for list in $(sinfo -h -R -o '%E|%N' | sed -n 's/^Duplicate jobid *|//p'); do
    scontrol update "NodeName=$list" State=RESUME
  done
}

start_controller() { pid slurmctld >/dev/null || slurmctld; wait_for 30 scontrol ping; }

down() {
  [ -d "$folder" ] || return 0
  local name p
  if pid slurmctld >/dev/null; then
    scancel -Q -u "$user" || true
    for _ in $(seq 75); do [ -z "$(squeue -h)" ] && break; sleep .2; done
  fi
  for name in $(node_names); do stop "slurmd.$name"; done
  for p in $(steps); do kill_tree "$p"; done
  for name in slurmctld slurmdbd mariadb munged; do stop "$name"; done
}

# The node's job processes die with it. Slurm itself would notice after SlurmdTimeout, five minutes.
kill_node() {
  local jobs job p
  jobs=$(squeue -h -w "$1" -o %A)
  kill -9 "$(pid "slurmd.$1")"
  for job in $jobs; do for p in $(steps "$job."); do kill_tree "$p"; done; done
  scontrol update NodeName="$1" State=DOWN Reason="lost power"
}

case ${1:-} in
  install | up | down) "$1" ;;
  clean) down; rm -rf "$folder" ;;
  env) echo "$folder/env.sh" ;;
  status) sinfo -N -o '%N %T %G %c %m %E' | sort -u; squeue ;;
  kill-node) kill_node "$2" ;;
  start-node) slurmd -N "$2" ;;
  kill-controller) kill -9 "$(pid slurmctld)" ;;
  start-controller)
    start_controller
    for _ in $(seq 10); do sleep 1; resume_duplicates; done ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
