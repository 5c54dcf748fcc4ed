/*
 * Copyright (C) 2026 The Berth Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.berth.allocator;

import vendor.berth.allocator.PressureLevel;

/**
 * A client's end of a session: its death token, and the receiver of notices. No call of the service
 * waits for it, nor does any other uid's news; a client that takes none loses nothing but the news.
 *
 * What a client does not take for now is put together and sent later: ids are added up, and of the
 * levels of pressure only the last counts.
 */
@VintfStability
oneway interface IAllocatorCallback {
    /** The most ids that one call tells. */
    const int MAX_GONE_IDS = 1024;

    /**
     * Buffers that this session acquired were freed by the session that allocated them, or that
     * session ended. Descriptors and mappings stay valid, and the contents stay as they are; nobody
     * else will acquire the buffers any more.
     *
     * @param ids ids of this session; they stay in it until it frees them. None if there were more
     *        to tell than MAX_GONE_IDS: IAllocatorSession.list then shows those with
     *        BufferInfo.FLAG_GIVEN_UP.
     */
    void onSharedBufferGone(in long[] ids);

    /**
     * The machine's memory got scarcer or less scarce. The service has given back what it kept idle.
     *
     * @param level how it is now. NORMAL is told only after another level.
     */
    void onPressure(PressureLevel level);
}
