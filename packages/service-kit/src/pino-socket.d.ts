declare module 'pino-socket' {
  import type { Writable } from 'node:stream'

  const pinoSocket: (options: Readonly<Record<string, unknown>>) => Promise<Writable>
  export default pinoSocket
}
