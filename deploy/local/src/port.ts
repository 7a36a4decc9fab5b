import { createServer } from 'node:net'

/** The wanted port of 127.0.0.1 if nobody listens there, else one that the system says is free. */
export const freePort = async (wanted = 0): Promise<number> => {
  const port = await tryPort(wanted)
  if (port !== undefined) return port
  const other = await tryPort(0)
  if (other === undefined) throw new Error('no port of 127.0.0.1 is free')
  return other
}

const tryPort = (port: number): Promise<number | undefined> =>
  new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(undefined))
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : undefined))
    })
  })
