import { onFleet } from '../on-fleet.ts'
import { growing, measureSoak, soakTable } from '../soak.ts'
import { startReceiver } from '../soak-load.ts'

const soakWarmUpMs = 60_000

/** `npm run bench -- soak [minutes]`: whether anything in the services grows under steady load; the exit code is 1 when it does. */
export const soak = async (minutes: number): Promise<void> => {
  const receiver = await startReceiver()
  const env = {
    AUTH_MODE: 'none',
    EGRESS_ALLOW_PRIVATE_CIDRS: '127.0.0.0/8',
    EGRESS_PORTS_ALLOW: String(receiver.port),
    RETENTION_SECONDS: '30',
    FAILED_RETENTION_SECONDS: '30'
  }
  const simulators = [{ speed: 1 }, { speed: 1 }]
  try {
    await onFleet({ simulators, timeScale: 0.02, env }, async (fleet, redisUrl) => {
      const measured = await measureSoak(fleet, redisUrl, receiver, { minutes, warmUpMs: soakWarmUpMs })
      const { succeeded, others, webhooks } = measured.load
      const title = [
        `${minutes} minutes of steady load after one that is not counted, a sample each 3 s; 2 simulated GPUs, time at 50 times its pace, Node ${process.version}`,
        `${succeeded} tasks succeeded, ${others} failed on purpose or were cancelled, ${webhooks} webhooks came; an ended task is kept for 30 s`
      ].join('\n')
      const grown = growing(measured).map(({ program, what }) => `${program}: ${what}`)
      if (grown.length > 0) process.exitCode = 1
      const verdict = grown.length === 0 ? 'Nothing grows.' : `It grows: ${grown.join(', ')}.`
      return { name: 'soak', text: [title, soakTable(measured), verdict].join('\n\n') }
    })
  } finally {
    receiver.close()
  }
}
