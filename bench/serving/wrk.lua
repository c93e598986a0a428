-- What wrk sends (the body of $SERVING_BODY, signed in with $SERVING_TOKEN) and the line that it prints at the end.
local file = io.open(os.getenv("SERVING_BODY"), "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
local token = os.getenv("SERVING_TOKEN")
if token then
  wrk.headers["Authorization"] = "Bearer " .. token
end

function done(summary, latency, requests)
  local e = summary.errors
  local line = '\nMEASURED {"answered": %d, "seconds": %.6f, "errors": %d, "p50_ms": %.4f, "p99_ms": %.4f}\n'
  io.write(string.format(line, summary.requests - e.status, summary.duration / 1e6,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
