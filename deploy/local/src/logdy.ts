import { join } from 'node:path'
import { freePort } from './port.ts'
import { startProcess } from './processes.ts'
import { findOnPath } from './redis-install.ts'
import { root } from './root.ts'

/** Starts logdy with our columns when its program is on PATH, listening on loopback only; undefined when it is not there. */
export const startLogdy = async (folder: string) => {
  const command = findOnPath('logdy')
  if (!command) return undefined
  const [uiPort, balancerPort, servicePort] = [await freePort(8081), await freePort(8233), await freePort(8234)]
  const process = await startProcess({
    name: 'logdy',
    command,
    args: [
      ...['socket', String(balancerPort), String(servicePort), '--ip', '127.0.0.1'],
      ...['--port', String(uiPort), '--ui-ip', '127.0.0.1', '--config', join(root, 'deploy/logdy/logdy.config.json')],
      ...['--max-message-count', '20000', '--no-analytics', '--no-updates']
    ],
    logFile: join(folder, 'logs', 'logdy.log'),
    readyWhen: line => line.includes('WebUI started') || undefined
  })
  return { url: `http://127.0.0.1:${uiPort}`, balancerPort, servicePort, process }
}
