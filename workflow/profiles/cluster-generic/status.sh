#!/bin/sh
# Say of a PBS job whether it is running, or ended in success or failed: sh status.sh JOB
said=$(qstat -x -f "$1" 2>/dev/null) || { echo running; exit; } # the server may be busy
case "$said
" in
*"job_state = F"*"Exit_status = 0
"*) echo success ;;
*"job_state = F"*) echo failed ;;
*) echo running ;;
esac
