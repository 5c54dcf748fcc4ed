/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.PressureLevel;

/**
 * A client's end of a session: its death token, and the receiver of notices. The service sends each
 * notice at most once and never waits for it; a client that takes none loses nothing but the news.
 */
@VintfStability
oneway interface IAllocatorCallback {
    /**
     * Buffers that this session acquired were freed by the session that allocated them, or that
     * session ended. Descriptors and mappings stay valid, and the contents stay as they are; nobody
     * else will acquire the buffers any more.
     *
     * @param ids ids of this session; they stay in it until it frees them.
     */
    void onSharedBufferGone(in long[] ids);

    /**
     * The machine's memory got scarcer or less scarce. The service has given back what it kept idle.
     *
     * @param level how it is now. NORMAL is told only after another level.
     */
    void onPressure(PressureLevel level);
}
