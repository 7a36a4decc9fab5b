import { connect } from 'node:net'

/** Bytes that are no proper HTTP request, and how the answer must begin. */
export type BrokenHttp = { readonly what: string; readonly bytes: string; readonly answer: RegExp }

const request = (line: string, headers: readonly string[], body = ''): string =>
  [`${line} HTTP/1.1`, 'Host: x', 'Connection: close', ...headers, '', body].join('\r\n')

const status = (...codes: number[]): RegExp => new RegExp(`^HTTP/1\\.1 (${codes.join('|')}) `)

const bodies = (key: string): BrokenHttp[] =>
  (
    [
      ['two lengths', ['Content-Length: 2', 'Content-Length: 3'], '{}', 400],
      ['a length and chunks', ['Content-Length: 2', 'Transfer-Encoding: chunked'], '0\r\n\r\n', 400],
      ['a negative length', ['Content-Length: -1'], '{}', 400],
      ['a length that is no number', ['Content-Length: 2x'], '{}', 400],
      ['chunks whose length is no number', ['Transfer-Encoding: chunked'], 'zz\r\n{}\r\n0\r\n\r\n', 400],
      ['a body that stops', ['Content-Length: 50'], '{"prompt"', 408],
      ['a gigabyte of chunks, begun only', ['Transfer-Encoding: chunked'], '40000000\r\n{', 408],
      ['another transfer encoding', ['Transfer-Encoding: gzip'], '{}', 400],
      ['a length of 100 GB, said only', ['Content-Length: 99999999999'], '', 413]
    ] as const
  ).map(([what, headers, body, code]) => ({
    what,
    bytes: request('POST /api/v1/generate', [key, 'Content-Type: application/json', ...headers], body),
    answer: status(code)
  }))

const heads = (key: string): BrokenHttp[] => {
  const get = (what: string, target: string, code: number | readonly number[], ...headers: string[]): BrokenHttp => ({
    ...{ what, bytes: request(`GET ${target}`, headers), answer: status(...[code].flat()) }
  })
  return [
    get('a path that ends a line', '/api/v1/tasks/%0d%0aX-Injected:%201', 400, key),
    get('a cursor that ends a line', '/api/v1/tasks?cursor=%0d%0aX-Injected:%201', 400, key),
    get('an id that ends a line', '/api/v1/tasks', 200, key, 'X-Request-Id: abcdefgh%0d%0aX-Injected: 1'),
    get('a header without a colon', '/livez', 400, 'Nonsense'),
    get('a header name with a space', '/livez', 400, 'X Y: 1'),
    get('a header with a carriage return', '/livez', 400, 'X-Request-Id: abcdefgh\rX-Injected: 1'),
    get('a header with a NUL', '/livez', 400, 'X-Request-Id: abcd\u0000efgh'),
    get('a path of 20 kB', `/${'x'.repeat(20_000)}`, 431),
    get('headers of 64 kB', '/livez', 431, `X-A: ${'x'.repeat(64_000)}`),
    get('2,000 headers', '/livez', [200, 431], ...Array.from({ length: 2_000 }, (_, n) => `X-${n}: 1`)),
    get('another host', 'http://evil.example/livez', [200, 400, 404]),
    get('a space in the path', '/a b', 400)
  ]
}

/** Every case; those that need a key get it. */
export const brokenHttp = (authorization: string): BrokenHttp[] => [
  ...bodies(`Authorization: ${authorization}`),
  ...heads(`Authorization: ${authorization}`),
  { what: 'no HTTP', bytes: 'nonsense\r\n\r\n', answer: status(400) },
  { what: 'TLS', bytes: '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', answer: status(400) },
  { what: 'HTTP/2', bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', answer: status(400) },
  { what: 'HTTP/9', bytes: 'GET / HTTP/9.9\r\n\r\n', answer: status(400) },
  { what: 'a tab in the method', bytes: 'GE\tT / HTTP/1.1\r\n\r\n', answer: status(400) },
  { what: 'no host', bytes: 'GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n', answer: status(400) },
  {
    what: 'a tunnel',
    bytes: 'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n',
    answer: /^$|^HTTP\/1\.1 4/
  }
]

const patienceMs = 60_000
const dripMs = 500

/** Sends bytes as they are, then a blank now and then, and gives all that comes back until the service closes the connection; throws when it does not. */
export const sendBytes = (baseUrl: string, bytes: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(baseUrl)
    const socket = connect(Number(port), hostname)
    let text = ''
    const timer = setTimeout(() => {
      reject(new Error(`still open after ${patienceMs} ms; so far: ${JSON.stringify(text.slice(0, 100))}`))
      socket.destroy()
    }, patienceMs)
    socket.setEncoding('latin1').on('data', part => {
      text += part
    })
    socket.on('error', () => undefined)
    socket.once('close', () => {
      clearTimeout(timer)
      resolve(text)
    })
    const drip = setInterval(() => socket.write(' '), dripMs)
    socket.once('close', () => clearInterval(drip))
    socket.write(bytes, 'latin1')
  })

/** What is wrong with an answer to broken HTTP; undefined when nothing is. */
export const brokenFault = ({ what, answer }: BrokenHttp, text: string): string | undefined => {
  if (!answer.test(text)) return `${what}: ${JSON.stringify(text.slice(0, 80))} instead of ${answer.source}`
  if (/^x-injected:/im.test(text.split('\r\n\r\n')[0] ?? '')) return `${what}: a header was injected`
  return undefined
}
