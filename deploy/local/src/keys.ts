/** `npm run keys`: the program of comfy-balancer, on the Redis of the environment, else on that of a running `npm start`. */
import { join } from 'node:path'
import { root } from './root.ts'
import { findRunning } from './running.ts'

const isConfigured = Object.keys(process.env).some(name => /^REDIS_(URL|HOST|PORT)/.test(name))
if (!isConfigured) Object.assign(process.env, findRunning())
await import(new URL(`file://${join(root, 'services/comfy-balancer/dist/src/keys/main.js')}`).href)
