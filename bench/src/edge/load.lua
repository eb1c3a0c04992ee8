-- One line for load.rs: requests, microseconds, bytes, answers above 399, failed connections,
-- and the latency that half and 99 % of the requests stayed below, in microseconds.
function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format("measured %d %d %d %d %d %d %d", summary.requests, summary.duration,
    summary.bytes, errors.status, broken, latency:percentile(50), latency:percentile(99)))
end
