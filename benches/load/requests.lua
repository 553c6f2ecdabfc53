-- Sends one request for each token of a file in turn, and prints what happened in one line:
-- the requests that were answered, the microseconds, and the failures.

local requests, at = {}, 0

function init(arguments)
  for token in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format(nil, nil, { ["X-Consul-Token"] = token })
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("result %d %d %d\n", summary.requests, summary.duration, failed))
end
