#!/bin/sh
# Say of a PBS job whether it is running, or ended in success or failed: sh status.sh JOB
said=$(qstat -x -f "$1" 2>&1) || {
    case $said in
    *"nknown Job"*) echo failed ;; # the server keeps no history, or lost the job
    *) echo running ;;             # the server may be busy
    esac
    exit
}
case "$said
" in
*"job_state = F"*"Exit_status = 0
"*) echo success ;;
*"job_state = F"*) echo failed ;;
*) echo running ;;
esac
