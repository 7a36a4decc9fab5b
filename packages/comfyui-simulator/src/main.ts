import { readCommandLine } from './command-line.ts'
import { createSimulator } from './simulator.ts'

const simulator = createSimulator({
  ...readCommandLine(process.argv.slice(2)),
  onCrash: () => process.kill(process.pid, 'SIGKILL')
})

process.on('SIGTERM', () => {
  void simulator.close()
  process.exit(143)
})
process.on('SIGINT', () => void simulator.close().then(() => process.exit(0)))

const url = await simulator.listen()
process.stdout.write(`${JSON.stringify({ event: 'listening', port: simulator.port, url })}\n`)
