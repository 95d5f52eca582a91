-- create_order, then cancel_order, for ever: each connection with a key and a server of its own.
-- Arguments: the first server's id, then a key for each connection.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
end

function init(arguments)
  bad, said, order = 0, "", nil
  server = arguments[1] + number - 1
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["auth"] = arguments[number + 1]
end

function request()
  if order then
    return wrk.format(nil, "/v1/cancel_order", nil, '{"id":' .. order .. "}")
  end
  local wanted = '{"renting_server":%d,"type":"on-demand","currency":"CLORE-Blockchain",'
    .. '"image":"ubuntu:24.04","ports":{"22":"tcp"}}'
  return wrk.format(nil, "/v1/create_order", nil, string.format(wanted, server))
end

function response(status, headers, body)
  if status ~= 200 or not body:find('"code":0') then
    bad, said, order = bad + 1, body, nil
  elseif order then
    order = nil
  else
    order = body:match('"id":(%d+)')
  end
end

function done(summary, latency, requests)
  for _, thread in ipairs(threads) do
    io.write("bad: ", thread:get("bad"), " ", thread:get("said"), "\n")
  end
end
