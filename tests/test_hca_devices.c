/* sim/hca: what a program sees of devices and ports, and how a fabric begins and ends. */
#include "tests/hca_pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

/* ---- lists --------------------------------------------------------------------------------------- */

static void test_get_device_list__no_fabric__enosys(void **state) {
    (void)state;
    int devices = 7;
    assert_null(ibv_get_device_list(&devices));
    assert_int_equal(errno, ENOSYS);
}

static struct ist_hca *new_fabric(void) {
    struct ist_hca_config config;
    ist_hca_config_init(&config, 1);
    struct ist_hca *hca = ist_hca_new(&config);
    assert_non_null(hca);
    return hca;
}

static void test_get_device_list__no_device__empty(void **state) {
    (void)state;
    struct ist_hca *hca = new_fabric();
    int devices = 7;
    struct ibv_device **list = ibv_get_device_list(&devices);
    assert_non_null(list);
    assert_int_equal(devices, 0);
    assert_null(list[0]);
    ibv_free_device_list(list);
    ist_hca_free(hca);
}

static void test_get_device_list__some__in_order_with_names(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 2);
    pair_init_devices(&pair, &options);
    struct ibv_device **list = ibv_get_device_list(NULL);
    assert_non_null(list);
    assert_string_equal(ibv_get_device_name(list[0]), "hca0");
    assert_string_equal(ibv_get_device_name(list[1]), "hca1");
    assert_null(list[2]);
    assert_int_equal(list[0]->node_type, IBV_NODE_CA);
    assert_int_not_equal(ibv_get_device_guid(list[0]), ibv_get_device_guid(list[1]));
    assert_int_equal(ibv_get_device_index(list[0]), -1);
    /* A device outlives the list that it was found in. */
    struct ibv_device *device = list[1];
    ibv_free_device_list(list);
    struct ibv_context *context = ibv_open_device(device);
    assert_non_null(context);
    assert_ptr_equal(context->device, device);
    assert_int_equal(ibv_close_device(context), 0);
    assert_ptr_equal(ist_hca_find_device(pair.hca, "hca1"), pair.side[1].device);
    assert_null(ist_hca_find_device(pair.hca, "hca2"));
    pair_fini(&pair);
}

/* ---- the life of a fabric ------------------------------------------------------------------------ */

static void free_no_list(struct pair *pair) {
    (void)pair;
    ibv_free_device_list(NULL);
}

static void free_list_twice(struct pair *pair) {
    (void)pair;
    struct ibv_device **list = ibv_get_device_list(NULL);
    ibv_free_device_list(list);
    ibv_free_device_list(list);
}

static void new_second(struct pair *pair) {
    (void)pair;
    (void)new_fabric();
}

static void free_with_objects(struct pair *pair) {
    ist_hca_free(pair->hca);
}

static void test_fabric__misused__aborts(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 3);
    options.srq = true;
    pair_init(&pair, &options);
    assert_violation(free_no_list, &pair, "ibv_free_device_list: NULL");
    assert_violation(free_list_twice, &pair, "ibv_free_device_list: no list is out");
    assert_violation(new_second, &pair, "ist_hca_new: there is a fabric already");
    assert_violation(
        free_with_objects, &pair,
        "left are 0 device lists, 2 contexts, 2 PDs, 2 MRs, 2 channels, 4 CQs, 2 SRQs, 2 QPs");
    struct ist_hca_counts counts;
    ist_hca_counts(pair.hca, &counts);
    assert_int_equal(counts.qps, 2);
    assert_int_equal(counts.cqs, 4);
    pair_fini(&pair);
    ist_hca_free(NULL);
}

/* ---- what devices tell --------------------------------------------------------------------------- */

static void test_query_device__any__as_configured(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 4);
    struct ist_hca_device_config *config = &options.device[0];
    config->max_qp_wr = 11;
    config->max_sge = 12;
    config->max_cqe = 13;
    config->max_qp_rd_atom = 14;
    config->max_qp_init_rd_atom = 15;
    config->max_mr_size = 1 << 17;
    config->max_srq_wr = 16;
    config->max_srq_sge = 17;
    options.cqe = 13;
    pair_init_devices(&pair, &options);
    pair_open(&pair, &pair.side[0]);
    struct ibv_device_attr attr;
    assert_int_equal(ibv_query_device(pair.side[0].context, &attr), 0);
    assert_int_equal(attr.max_qp_wr, 11);
    assert_int_equal(attr.max_sge, 12);
    assert_int_equal(attr.max_cqe, 13);
    assert_int_equal(attr.max_qp_rd_atom, 14);
    assert_int_equal(attr.max_qp_init_rd_atom, 15);
    assert_int_equal(attr.max_mr_size, 1 << 17);
    assert_int_equal(attr.max_srq_wr, 16);
    assert_int_equal(attr.max_srq_sge, 17);
    assert_int_equal(attr.phys_port_cnt, 1);
    assert_int_equal(attr.atomic_cap, IBV_ATOMIC_NONE);
    struct ibv_device_attr_ex extended;
    assert_int_equal(ibv_query_device_ex(pair.side[0].context, NULL, &extended), 0);
    assert_int_equal(extended.orig_attr.max_qp_wr, 11);
    assert_int_equal(extended.odp_caps.general_caps, 0);
    pair_fini(&pair);
}

static void test_query_port__several__each_its_own(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 5);
    struct ist_hca_device_config *config = &options.device[0];
    config->ports = 3;
    config->port[1] = config->port[2] = config->port[0];
    config->port[1].state = IBV_PORT_DOWN;
    config->port[2].active_mtu = IBV_MTU_512;
    config->port[2].gids = 2;
    config->port[2].link_layer = IBV_LINK_LAYER_INFINIBAND;
    config->port[2].lid = 77;
    config->port[2].grh_required = true;
    pair_init_devices(&pair, &options);
    pair_open(&pair, &pair.side[0]);
    struct ibv_port_attr port;
    assert_int_equal(ibv_query_port(pair.side[0].context, 1, &port), 0);
    assert_int_equal(port.state, IBV_PORT_ACTIVE);
    assert_int_equal(port.link_layer, IBV_LINK_LAYER_ETHERNET);
    assert_int_equal(port.active_mtu, IBV_MTU_4096);
    assert_int_equal(port.max_msg_sz, 1u << 30);
    assert_int_equal(port.gid_tbl_len, 4);
    assert_int_equal(port.lid, 0);
    assert_int_equal(port.flags, 0);
    assert_int_equal(ibv_query_port(pair.side[0].context, 2, &port), 0);
    assert_int_equal(port.state, IBV_PORT_DOWN);
    assert_int_equal(ibv_query_port(pair.side[0].context, 3, &port), 0);
    assert_int_equal(port.active_mtu, IBV_MTU_512);
    assert_int_equal(port.link_layer, IBV_LINK_LAYER_INFINIBAND);
    assert_int_equal(port.lid, 77);
    assert_int_equal(port.flags, IBV_QPF_GRH_REQUIRED);
    assert_int_equal(ibv_query_port(pair.side[0].context, 0, &port), EINVAL);
    assert_int_equal(ibv_query_port(pair.side[0].context, 4, &port), EINVAL);
    struct ibv_gid_entry entries[16];
    assert_int_equal(ibv_query_gid_table(pair.side[0].context, entries, 16, 0), 10);
    assert_int_equal(entries[9].port_num, 3);
    assert_int_equal(entries[9].gid_index, 1);
    pair_fini(&pair);
}

static void test_query_gid__table_with_a_hole__types_netdevs_and_the_hole(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 6);
    struct ist_hca_port_config *port = &options.device[0].port[0];
    memset(&port->gid[1], 0, sizeof(port->gid[1]));
    port->gid[2].ifindex = 5;
    pair_init_devices(&pair, &options);
    pair_open(&pair, &pair.side[0]);
    struct ibv_context *context = pair.side[0].context;
    union ibv_gid gid;
    assert_int_equal(ibv_query_gid(context, 1, 0, &gid), 0);
    char text[INET6_ADDRSTRLEN];
    assert_string_equal(inet_ntop(AF_INET6, gid.raw, text, sizeof(text)), "fe80::1");
    assert_int_equal(ibv_query_gid(context, 1, 3, &gid), 0);
    assert_string_equal(inet_ntop(AF_INET6, gid.raw, text, sizeof(text)), "::ffff:10.0.0.1");
    assert_int_equal(ibv_query_gid(context, 1, 4, &gid), -1);
    assert_int_equal(ibv_query_gid(context, 1, -1, &gid), -1);
    assert_int_equal(ibv_query_gid(context, 2, 0, &gid), -1);

    struct ibv_gid_entry entry;
    assert_int_equal(ibv_query_gid_ex(context, 1, 2, &entry, 0), 0);
    assert_int_equal(entry.gid_type, IBV_GID_TYPE_ROCE_V1);
    assert_int_equal(entry.ndev_ifindex, 5);
    assert_int_equal(entry.gid_index, 2);
    assert_int_equal(entry.port_num, 1);
    assert_int_equal(ibv_query_gid_ex(context, 1, 3, &entry, 0), 0);
    assert_int_equal(entry.gid_type, IBV_GID_TYPE_ROCE_V2);
    assert_int_equal(ibv_query_gid_ex(context, 1, 1, &entry, 0), ENODATA);
    assert_int_equal(ibv_query_gid_ex(context, 1, 4, &entry, 0), EINVAL);
    assert_int_equal(ibv_query_gid_ex(context, 1, 0, &entry, 1), EINVAL);

    struct ibv_gid_entry entries[4];
    assert_int_equal(ibv_query_gid_table(context, entries, 4, 0), 3);
    assert_int_equal(entries[0].gid_index, 0);
    assert_int_equal(entries[1].gid_index, 2);
    assert_int_equal(entries[2].gid_index, 3);
    assert_int_equal(ibv_query_gid_table(context, entries, 2, 0), -EINVAL);
    assert_int_equal(ibv_query_gid_table(context, entries, 4, 1), -EINVAL);
    pair_fini(&pair);
}

static void test_query_pkey__any__the_default_one(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 7);
    __be16 pkey;
    assert_int_equal(ibv_query_pkey(pair.side[0].context, 1, 0, &pkey), 0);
    assert_int_equal(ntohs(pkey), 0xffff);
    assert_int_equal(ibv_query_pkey(pair.side[0].context, 1, 1, &pkey), -1);
    assert_int_equal(ibv_query_pkey(pair.side[0].context, 2, 0, &pkey), -1);
    assert_int_equal(ibv_get_pkey_index(pair.side[0].context, 1, pkey), 0);
    assert_int_equal(ibv_get_pkey_index(pair.side[0].context, 1, 1), -1);
    pair_fini(&pair);
}

static void test_create__more_than_the_device_has__enomem(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 8);
    options.srq = true;
    struct ist_hca_device_config *config = &options.device[0];
    config->max_pd = config->max_mr = config->max_srq = config->max_qp = 1;
    config->max_cq = 2;
    pair_init(&pair, &options);
    struct pair_side *side = &pair.side[0];
    struct ibv_srq_init_attr srq = {.attr = {.max_wr = 1, .max_sge = 1}};
    struct ibv_qp_init_attr qp = {.send_cq = side->send_cq,
                                  .recv_cq = side->recv_cq,
                                  .cap = {.max_send_wr = 1},
                                  .qp_type = IBV_QPT_RC};
    errno = 0;
    assert_null(ibv_alloc_pd(side->context));
    assert_int_equal(errno, ENOMEM);
    assert_null(ibv_reg_mr(side->pd, side->buffer, 1, IBV_ACCESS_LOCAL_WRITE));
    assert_int_equal(errno, ENOMEM);
    assert_null(ibv_create_cq(side->context, 1, NULL, NULL, 0));
    assert_int_equal(errno, ENOMEM);
    assert_null(ibv_create_srq(side->pd, &srq));
    assert_int_equal(errno, ENOMEM);
    assert_null(ibv_create_qp(side->pd, &qp));
    assert_int_equal(errno, ENOMEM);
    pair_destroy_qp(side);
    pair_make_qp(&pair, side);
    pair_fini(&pair);
}

static void test_extended_calls__not_provided__eopnotsupp(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 9);
    struct ibv_cq_init_attr_ex attr = {.cqe = 1};
    assert_null(ibv_create_cq_ex(pair.side[0].context, &attr));
    assert_int_equal(errno, EOPNOTSUPP);
    struct ibv_alloc_dm_attr dm = {.length = 1};
    assert_null(ibv_alloc_dm(pair.side[0].context, &dm));
    assert_int_equal(errno, EOPNOTSUPP);
    pair_fini(&pair);
}

static void test_names__any_number__a_text(void **state) {
    (void)state;
    assert_string_equal(ibv_wc_status_str(IBV_WC_RETRY_EXC_ERR), "transport retry counter exceeded");
    assert_string_equal(ibv_wc_status_str((enum ibv_wc_status)1000), "unknown");
    assert_string_equal(ibv_event_type_str(IBV_EVENT_WQ_FATAL), "WQ fatal");
    assert_string_equal(ibv_node_type_str(IBV_NODE_CA), "InfiniBand channel adapter");
    assert_string_equal(ibv_node_type_str(IBV_NODE_UNKNOWN), "unknown");
    assert_string_equal(ibv_port_state_str(IBV_PORT_ACTIVE), "active");
    for (int i = IBV_WC_SUCCESS; i <= IBV_WC_TM_RNDV_INCOMPLETE; i++) {
        assert_string_not_equal(ibv_wc_status_str((enum ibv_wc_status)i), "unknown");
    }
    for (int i = IBV_EVENT_CQ_ERR; i <= IBV_EVENT_WQ_FATAL; i++) {
        assert_string_not_equal(ibv_event_type_str((enum ibv_event_type)i), "unknown");
    }
}

/* ---- InfiniBand ---------------------------------------------------------------------------------- */

static void init_infiniband(struct pair_options *options, uint64_t seed) {
    pair_options_init(options, seed);
    for (uint8_t i = 0; i < 2; i++) {
        ist_hca_device_config_ib(&options->device[i], i == 0 ? "ib0" : "ib1", i);
    }
}

static void test_infiniband__by_lid__data_moves(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    init_infiniband(&options, 10);
    pair_init(&pair, &options);
    pair_fill(&pair, 0, 3);
    pair_post(
        &pair, 0,
        (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 9000, .flags = IBV_SEND_SIGNALED});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    assert_true(pair_holds(&pair, 1, 0, 9000, 3));
    pair_fini(&pair);
}

static void test_set_lid__of_a_connection__told_and_not_heard_any_more(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    struct ibv_port_attr port;
    init_infiniband(&options, 12);
    pair_init(&pair, &options);
    ist_hca_set_lid(pair.side[1].device, 1, 700);
    pair_expect_event(&pair, 1, IBV_EVENT_LID_CHANGE);
    assert_int_equal(ibv_query_port(pair.side[1].context, 1, &port), 0);
    assert_int_equal(port.lid, 700);
    pair_post(&pair, 0,
              (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 10, .flags = IBV_SEND_SIGNALED});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_RETRY_EXC_ERR);
    pair_fini(&pair);
}

/* Both addresses changed as asked, then a WRITE. */
static enum ibv_wc_status write_over_infiniband(bool peer_requires, bool global, uint16_t lid_error,
                                                uint8_t gid_error) {
    struct pair_options options;
    struct pair pair;
    init_infiniband(&options, 11);
    options.device[1].port[0].grh_required = peer_requires;
    pair_init_devices(&pair, &options);
    for (int i = 0; i < 2; i++) {
        pair_open(&pair, &pair.side[i]);
        pair_make_qp(&pair, &pair.side[i]);
        assert_int_equal(pair_to_init(&pair, &pair.side[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        struct ibv_qp_attr attr = pair_rtr_attr(&pair, &pair.side[1 - i]);
        attr.ah_attr.is_global = global || (i == 1 && peer_requires);
        attr.ah_attr.dlid = (uint16_t)(attr.ah_attr.dlid + (i == 0 ? lid_error : 0));
        attr.ah_attr.grh.dgid.raw[15] ^= i == 0 ? gid_error : 0;
        assert_int_equal(ibv_modify_qp(pair.side[i].qp, &attr, PAIR_RTR_MASK), 0);
        assert_int_equal(pair_to_rts(&pair, &pair.side[i]), 0);
    }
    pair_post(
        &pair, 0,
        (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 9000, .flags = IBV_SEND_SIGNALED});
    pair_run(&pair);
    struct ibv_wc wc;
    assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 1, &wc), 1);
    pair_fini(&pair);
    return wc.status;
}

static void test_infiniband__addresses__must_be_the_peers(void **state) {
    (void)state;
    assert_int_equal(write_over_infiniband(false, false, 0, 0), IBV_WC_SUCCESS);
    assert_int_equal(write_over_infiniband(false, false, 0, 1),
                     IBV_WC_SUCCESS); /* no GRH: not looked at */
    assert_int_equal(write_over_infiniband(false, true, 0, 0), IBV_WC_SUCCESS);
    assert_int_equal(write_over_infiniband(false, false, 5, 0), IBV_WC_RETRY_EXC_ERR);
    assert_int_equal(write_over_infiniband(false, true, 0, 1), IBV_WC_RETRY_EXC_ERR);
    assert_int_equal(write_over_infiniband(true, true, 0, 0), IBV_WC_SUCCESS);
    assert_int_equal(write_over_infiniband(true, false, 0, 0), IBV_WC_RETRY_EXC_ERR);
}

static void test_link_layers__of_two_kinds__do_not_meet(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 12);
    ist_hca_device_config_ib(&options.device[1], "ib1", 1);
    pair_init_devices(&pair, &options);
    for (int i = 0; i < 2; i++) {
        pair_open(&pair, &pair.side[i]);
        pair_make_qp(&pair, &pair.side[i]);
        assert_int_equal(pair_to_init(&pair, &pair.side[i]), 0);
    }
    struct ibv_qp_attr attr = pair_rtr_attr(&pair, &pair.side[1]);
    attr.ah_attr.is_global = 1;
    attr.ah_attr.grh.sgid_index = 3;
    assert_int_equal(ibv_modify_qp(pair.side[0].qp, &attr, PAIR_RTR_MASK), 0);
    attr = pair_rtr_attr(&pair, &pair.side[0]);
    attr.ah_attr.is_global = 0;
    attr.ah_attr.dlid = 1;
    assert_int_equal(ibv_modify_qp(pair.side[1].qp, &attr, PAIR_RTR_MASK), 0);
    assert_int_equal(pair_to_rts(&pair, &pair.side[0]), 0);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .bytes = 10});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_RETRY_EXC_ERR);
    pair_fini(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_device_list__no_fabric__enosys),
        cmocka_unit_test(test_get_device_list__no_device__empty),
        cmocka_unit_test(test_get_device_list__some__in_order_with_names),
        cmocka_unit_test(test_fabric__misused__aborts),
        cmocka_unit_test(test_query_device__any__as_configured),
        cmocka_unit_test(test_query_port__several__each_its_own),
        cmocka_unit_test(test_query_gid__table_with_a_hole__types_netdevs_and_the_hole),
        cmocka_unit_test(test_query_pkey__any__the_default_one),
        cmocka_unit_test(test_create__more_than_the_device_has__enomem),
        cmocka_unit_test(test_extended_calls__not_provided__eopnotsupp),
        cmocka_unit_test(test_names__any_number__a_text),
        cmocka_unit_test(test_infiniband__by_lid__data_moves),
        cmocka_unit_test(test_set_lid__of_a_connection__told_and_not_heard_any_more),
        cmocka_unit_test(test_infiniband__addresses__must_be_the_peers),
        cmocka_unit_test(test_link_layers__of_two_kinds__do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
